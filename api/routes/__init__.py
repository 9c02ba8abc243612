"""One module of endpoints for each resource. A blocking endpoint opens its one transaction itself, so that it is
committed before the response leaves."""
