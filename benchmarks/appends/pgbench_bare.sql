insert into twin_events (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
values (:tenant, nextval('twin_position'), 'entry-' || uuidv7(), 1, :topic, 1, gen_random_uuid(), :data::bytea,
        :metadata::bytea, clock_timestamp());
