"""Predicts, 30 minutes before the scheduled departure, whether a flight will arrive 15 or more minutes late.

The events are the real flights that left New York in 2013, see topology/recordings/flights.py. The model's inputs are
the schedule and the earlier departures of the aircraft, all known at boarding. ops/training/flights.py trains it.
"""

from surgetank import Category, DayOfWeek, Elapsed, Events, Field, Pipeline, Scores, Table, days, hours

# The vocabularies that the model was trained on; other values are missing values.
CARRIERS = tuple("9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV".split())  # noqa: SIM905 - one a line reads worse
ORIGINS = ("EWR", "JFK", "LGA")
DESTINATIONS = tuple(
    """
    ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT
    CMH CRW CVG DAY DCA DEN DFW DSM DTW EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX
    LAS LAX LEX LGA LGB MCI MCO MDW MEM MHT MIA MKE MSN MSP MSY MTJ MVY MYR OAK OKC OMA ORD ORF PBI
    PDX PHL PHX PIT PSE PSP PVD PWM RDU RIC ROC RSW SAN SAT SAV SBN SDF SEA SFO SJC SJU SLC SMF SNA
    SRQ STL STT SYR TPA TUL TVC TYS XNA
    """.split()  # noqa: SIM905
)

# Features of the schedule; the model flights-late uses only these.
SCHEDULE = (
    Category("carrier", vocabulary=CARRIERS),
    Category("origin", vocabulary=ORIGINS),
    Category("dest", vocabulary=DESTINATIONS),
    Field("distance"),
    Field("scheduled_departure_local_minutes"),
    Field("scheduled_arrival_local_minutes"),
    DayOfWeek("scheduled_departure"),
    Elapsed("scheduled_departure", "scheduled_arrival", unit="minutes"),
)

departures = Events("flights.departures", schema="departure", key="tailnum", time="departed_at")
# The earlier departures of each aircraft, from any airport.
aircraft = Table("aircraft", facts=departures, ttl=days(30))
MEMORY = (
    aircraft.last("dep_delay_minutes"),
    aircraft.mean("dep_delay_minutes", window=hours(6)),
    aircraft.count(window=hours(24)),
    aircraft.seconds_since_last(),
)

flights = Pipeline(
    name="flights",
    events=Events("flights.boarding", schema="boarding", key="tailnum", time="boarding_at"),
    features=(*SCHEDULE, *MEMORY),
    model="flights-late-memory",
    model_version="1",
    scores=Scores("flights.scores"),
    recording="topology.recordings.flights:recording",
)


def __getattr__(name: str) -> object:
    """Build ``app`` for ``faust -A topology.flights:app worker``; other tools only need the declaration."""
    if name != "app":
        raise AttributeError(name)
    from surgetank.app import application

    return application(flights)
