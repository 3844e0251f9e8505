# What developers do often. README.md and CONTRIBUTING.md give each as a plain
# command too.

# list the recipes
default:
    @just --list

# build the program into bin/
build:
    go build -o bin/poppobuilder ./cmd/poppobuilder

# run all tests
test:
    go test -race ./...

# format, vet and staticcheck
lint:
    test -z "$(go tool gofumpt -l .)"
    go vet ./...
    go tool staticcheck ./...

# vet for the other systems
cross-vet:
    GOOS=darwin go vet ./...
    GOOS=freebsd go vet ./...
    GOOS=windows go vet ./pidfile/... ./signals/... ./supervisor/... ./procworker/... ./schedule/...

# run all benchmarks
bench:
    go test -run '^$' -bench . -benchmem ./...

# fuzz every parser for a while
fuzz time="30s":
    for p in $(go list ./...); do for f in $(go test -list '^Fuzz' $p | grep '^Fuzz'); do go test -run '^$' -fuzz "^$f\$" -fuzztime {{time}} $p || exit 1; done; done

# simulate supervision for longer than the tests do
sim steps="5000000":
    SUPERVISOR_SIM_STEPS={{steps}} go test -run TestSimulation -timeout 30m ./supervisor

# stop the daemon's process for as long as somebody's debugger may
pause time="30s":
    PAUSE_TIME={{time}} go test -v -count=1 -run TestPausedMaster ./cmd/poppobuilder

# let everything happen to a daemon, for longer than the tests do; with
# race="-race", which takes many times as long, under the race detector
chaos rounds="5000" seed="" race="":
    CHAOS_ROUNDS={{rounds}} CHAOS_SEED={{seed}} go test {{race}} -v -count=1 -timeout 24h -run '^TestChaos$' ./cmd/poppobuilder

# watch what a busy daemon takes, over time
soak time="20m":
    SOAK_TIME={{time}} go test -v -count=1 -timeout 8h -run '^TestSoak$' ./cmd/poppobuilder

# see it work
demo:
    go run ./cmd/poppobuilder demo

# what continuous integration runs
ci:
    .ci/run
