"""KServe servers: the V2 codec, the models, and the process that runs them."""
