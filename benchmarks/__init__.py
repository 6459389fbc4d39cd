"""What flask_archie_keys costs, side by side with what a user would pick instead. See README.md."""
