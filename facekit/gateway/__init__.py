"""The HTTP front of a server: KServe's protocol, a REST interface and a page, over gRPC.

It reads a request whole, within limits, before anything of it reaches Triton, whose own HTTP front
end stays closed.
"""
