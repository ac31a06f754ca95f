#!/bin/sh
# Take NiiVue from the npm package again: run here, with npm at hand.
set -eu
cd "$(dirname "$0")"
package=$(mktemp -d)
trap 'rm -rf "$package"' EXIT
npm pack --silent --pack-destination "$package" @niivue/niivue@0.69.0
tar -xzOf "$package"/niivue-niivue-0.69.0.tgz package/dist/index.js > "$package/index.js"
echo "d6c2be4feb1ad53b2ac76b4196da8d8fd2263b662b511c55ca0fd127eb6a6532  $package/index.js" | sha256sum -c -
cp "$package/index.js" index.js
