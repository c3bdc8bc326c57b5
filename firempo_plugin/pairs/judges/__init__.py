"""Who decides whether a response is right and edits it: the contract with any judge, and the judge made of rules."""
