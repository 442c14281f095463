"""Alert packets in each survey's own wire format, from header fields and pixel arrays: for simulated streams.

One module a format, one function each: ``ztf_packet``, ``lsst_packet``, ``ugriz_packet``. They write what the
decoders of ``schemas.surveys`` read, and no histories.
"""
