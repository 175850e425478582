"""A participant's media, in a process of its own: no Qt, no rules of the meeting. Others import `engine.api` only."""
