"""A team's servers without containers: MLflow and Prefect on one PostgreSQL, backed up, restored and migrated."""
