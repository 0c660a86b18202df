"""The other servers, each written the way a good user of it would, each a process of its own."""
