"""Pictures and sounds to rows of the decoder's input."""
