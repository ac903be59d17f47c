"""What every part may use and what knows none of them: access marks, partials, state moves, secrets, partitions."""
