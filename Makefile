# What a person types. Each target installs what it lacks, saying so first.

PREFIX ?= /usr/local
CARGO ?= cargo
SHARE = $(DESTDIR)$(PREFIX)/share
# Where each shell looks for completions.
BASH = $(SHARE)/bash-completion/completions/netform
ZSH = $(SHARE)/zsh/site-functions/_netform
FISH = $(SHARE)/fish/vendor_completions.d/netform.fish

.PHONY: help demo build test lint fuzz bench bless editor-test install uninstall

help:
	@echo 'make demo          watch a namespace come up on a private host, reach the world, and go again'
	@echo 'make test          run all tests'
	@echo 'make lint          formatting, clippy, documentation, licences'
	@echo 'make fuzz          feed the parsers random input for FUZZ_SECONDS each (docs/fuzzing.md)'
	@echo 'make bench         time netform on a private host, against the least that the kernel asks for (docs/performance.md)'
	@echo 'make bless         take what the golden tests print now for right'
	@echo 'make editor-test   try the schema in yaml-language-server, which npm fetches'
	@echo 'make install       build for release, and install into PREFIX=$(PREFIX)'

demo:
	@scripts/install-deps.sh test
	@$(CARGO) build --locked --quiet
	@scripts/demo.sh

build:
	@scripts/install-deps.sh build
	$(CARGO) build --locked --release

test:
	@scripts/install-deps.sh test
	@scripts/test.sh

lint:
	@scripts/install-deps.sh build
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path benches/floor/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --quiet
	python3 scripts/licences.py

# Not a part of `test`, which reads the corpus only: it takes a C++ compiler.
fuzz:
	@scripts/install-deps.sh fuzz
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-20} scripts/fuzz.sh

# BENCH_SIZES='1 100' says with how many namespaces.
bench:
	@scripts/install-deps.sh bench
	@scripts/bench.sh $(BENCH_SIZES)

bless:
	NETFORM_BLESS=1 $(CARGO) test --locked --test spec_errors
	NETFORM_BLESS=1 $(CARGO) test --locked --test specs reviews
	NETFORM_BLESS=1 $(CARGO) test --locked --test graph

# Not a part of `test`: it needs Node.js and the npm registry.
editor-test:
	@scripts/editor-test.py

install: build
	install -D -m 0755 target/release/netform $(DESTDIR)$(PREFIX)/bin/netform
	install -D -m 0644 packaging/iproute2.conf $(DESTDIR)/etc/iproute2/rt_protos.d/netform.conf
	target/release/netform man --directory $(SHARE)/man/man1
	install -d $(dir $(BASH)) $(dir $(ZSH)) $(dir $(FISH))
	target/release/netform completions bash > $(BASH)
	target/release/netform completions zsh > $(ZSH)
	target/release/netform completions fish > $(FISH)

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/netform $(DESTDIR)/etc/iproute2/rt_protos.d/netform.conf
	rm -f $(SHARE)/man/man1/netform.1 $(SHARE)/man/man1/netform-*.1 $(BASH) $(ZSH) $(FISH)
