"""Quality checks of series: rules, and the scan that applies them to bars. Sends no requests and changes nothing."""
