(aggregate_id = ? AND aggregate_version = ? AND aggregate_type = ? AND tenant_id <=> ?) OR (aggregate_id = ? AND aggregate_version = ?)
