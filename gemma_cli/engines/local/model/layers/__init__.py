"""Parts of a decoder layer: linear layers, quantized or not, activation, experts, rotary embedding."""
