"""aiortc, bent to our needs: its ICE, DTLS, SRTP, SCTP and SDP parser, with our own peer above them. Loop's thread only."""
