"""The quality of a series: rules, the scan that applies them to bars, and the report. Asks and changes nothing."""
