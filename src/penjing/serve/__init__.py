"""Artifacts over HTTP, in the words of the OpenAI API, and a page to try them. Torch-free.

A request's bytes become text, a picture or samples and never a path; what it may weigh is in `limits`.
"""
