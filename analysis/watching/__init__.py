"""The live page: a results folder that is followed, its pages, and the server that shows them."""
