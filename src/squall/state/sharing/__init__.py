"""Sharing: the record of Dicts and Queues."""
