"""``portal-gateway`` with a defect at ``/whoami``: ``python -m tests.integration.run_defective``.

It fails in every way in which a failure can come into a log, each time with the request in the
variables and in the text of the exception.
"""

import logging
import threading

from twisted.internet.defer import Deferred
from twisted.python import log
from twisted.python.failure import Failure

from portal_gateway import cli
from portal_gateway.frontend import whoami


def look_up(secrets):
    """Fail with all of them at hand."""
    first, *_others = secrets
    copied = dict.fromkeys(secrets)
    return copied[(first, len(copied))]


class Defective(whoami.WhoAmI):
    """Answers nobody."""

    def render_GET(self, request):
        fields = [value.decode("latin-1") for _name, value in request.head.headers]
        secrets = [*fields, request.head.target.decode("latin-1")]
        try:
            look_up(secrets)
        except KeyError as error:
            failure = Failure(captureVars=True)
            Deferred().errback(failure)
            log.err(failure, "a legacy event")
            log.err(failure)
            logging.getLogger("a.library").exception("a library failed")
            thread = threading.Thread(target=look_up, args=(secrets,))
            thread.start()
            thread.join()
            raise RuntimeError(f"cannot answer {error}") from error


if __name__ == "__main__":
    from portal_gateway.frontend import routes

    routes.WhoAmI = Defective
    cli.main()
