"""Stand-ins that ship with the product: Loki, Splunk HEC and a log generator. The demo and the tests run on them."""
