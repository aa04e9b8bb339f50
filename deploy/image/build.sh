#!/bin/sh
# The first stage of the Dockerfile: the gateway and all that it needs in the virtual environment PREFIX.
#
#   deploy/image/build.sh PREFIX        from the root of the sources
#
# COMPILE=0 leaves mypyc out, PYTHON chooses the interpreter, which has to have pip. Nothing here is particular
# to a container or to Alpine: tests/integration/test_image.py runs it in a plain directory.
set -eu
prefix=$1
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is seen through it, pip would take for installed.
unset PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

if [ "${COMPILE:-1}" = 1 ]; then
    # mypyc has to see the types of every library, so it needs them all where it compiles.
    "$python" -m venv "$work/compiling"
    "$work/compiling/bin/python" -m pip install --quiet '.[compile]'
    PORTAL_GATEWAY_COMPILE=1 "$work/compiling/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation \
        --wheel-dir "$work" .
else
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" .
fi
"$python" -m venv --without-pip "$prefix"
"$python" -m pip --python "$prefix/bin/python" install --quiet --no-compile "$work"/portal_gateway-*.whl
"$python" deploy/image/slim.py "$prefix"/lib/python3.*/site-packages
