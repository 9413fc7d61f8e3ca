-- The whole log by event type, in the order of positions: docs/decisions/0016-reading-by-type.md. While it is built,
-- appends wait: some seconds for each million of events.
create index events_topic_position on varve.events (topic, position);
