"""The page in a browser: paint a mask, type a prompt, see the edit (``editinfinity app``)."""
