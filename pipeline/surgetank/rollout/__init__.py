"""Which version of a model answers: commands of operators, the states they lead to, and what follows them."""
