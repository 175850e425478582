"""A laboratory for bad networks: impairments between any client and any SFU, the same rows for ours, libwebrtc and Chromium."""
