"""Scores card payments: the probability that a payment is fraudulent. The model is trained by models/train.py."""

from surgetank import Category, Events, Field, HourOfDay, Pipeline, Scores, Table, days

COUNTRIES = ("DE", "FR", "IT", "NL", "US")  # what the model was trained on; other values are missing values

cards = Table("cards", ttl=days(30))  # what is known of each card, kept by the workers

pipeline = Pipeline(
    name="my-fraud",
    events=Events("my-fraud.events", schema="payment", key="card", time="paid_at", partitions=4),
    features=(
        Field("amount"),
        HourOfDay("paid_at"),
        Category("country", vocabulary=COUNTRIES),
        cards.last("amount"),
        cards.seconds_since_last(),
    ),
    model="my-fraud",
    model_version="1",  # the folder below models/my-fraud that workers serve
    scores=Scores("my-fraud.scores"),
    recording="sample_events:recording",
)
