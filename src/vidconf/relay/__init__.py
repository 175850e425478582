"""The small SFU that speaks LiveKit: its own process, one loop, one UDP port (ICE-lite). Run by cli/relay.py; `serve` starts it.

    process       what the process is made of, and its end
    signalling    HTTP and WebSocket; what a client asks is in requests
    registry      all rooms, tokens, what was removed            twirp, webhooks   the API above it
    room          who gets what of whom, what is told to whom    participant       one connection: permission, outbox
    publishing    a client's offer, SSRCs, feedback              subscribing       our offers, NACK, data channels
    track         what is published; simulcast: its layers, and which subscriber gets which
    connecting    what both connections do alike
    forwarder     the hot path: one packet in, one a subscriber out; reception: numbers and gaps; downstream: the ways out
    delivery      what of all that a subscriber wants its line carries: line finds that out, shares shares it out
    layers, dynacast, downlink, renumbering, redundancy, speakers, quality   the rules, pure

Whatever is wrong with what a client sends is counted (counters, /debug/counters on loopback) and dropped, or answered by code.
"""
