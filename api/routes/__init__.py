"""One module of endpoints for each resource. A blocking endpoint opens its one transaction itself, so that it is
committed before the response leaves."""

from starlette.convertors import register_url_convertor

from api.paths import NameConvertor

register_url_convertor("name", NameConvertor())  # here, for it must be known before a route is declared
