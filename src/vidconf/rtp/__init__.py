"""Media arithmetic. Pure: no I/O, no clock; `now` is an argument, in monotonic seconds. Any thread, one at a time an object."""
