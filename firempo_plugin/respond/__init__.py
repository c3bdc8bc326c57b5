"""Who answers a question: an endpoint, a model in this process, or the source itself."""
