"""Who is told.

Topics are published to, subscribed to and replayed; named consumers share them. Change triggers and
standing searches publish in the transaction of the change that they see. Brokers carry the news.
"""
