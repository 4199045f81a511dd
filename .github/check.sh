#!/usr/bin/env bash
# The action's check: inputs come as variables, so that nothing in them is taken for shell code.
set -euo pipefail
report="$RUNNER_TEMP/growmerge-report"
rm -rf "$report" # of an earlier use in the same job
mkdir -p "$report"
arguments=()
for tolerance in $TOLERANCE; do
    arguments+=(--tolerance "$tolerance")
done
# Split at white space, as on a command line without quotes.
read -r -a more <<<"$ARGUMENTS"
status=0
"$RUNNER_TEMP/growmerge/bin/growmerge" check "$RECIPE" --texts "$TEXTS" --baseline "$BASELINE" \
    "${arguments[@]}" "${more[@]}" \
    --markdown "$GITHUB_STEP_SUMMARY" --html "$report/report.html" --junit "$report/junit.xml" || status=$?
{
    case "$status" in
    0) echo "passed=true" ;;
    1) echo "passed=false" ;;
    esac
    # Bad input leaves no report.
    [ -e "$report/report.html" ] && echo "report=$report" || true
} >>"$GITHUB_OUTPUT"
exit "$status"
