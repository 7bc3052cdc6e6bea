# nix/scripts/deploy.sh with a real Git, and stand-ins for Docker that write down how they were called.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work GIT_CONFIG_GLOBAL=$work/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --global user.name t; git config --global user.email t@example.org; git config --global init.defaultBranch main

mkdir bin secrets
printf '#!/bin/sh\ncat >/dev/null; echo "docker $*" >>%s/calls\n' "$work" >bin/docker
printf '#!/bin/sh\necho "compose $*" >>%s/calls; exit ${COMPOSE_STATUS:-0}\n' "$work" >bin/docker-compose
chmod +x bin/*
export PATH=$work/bin:$PATH

git init -q app
mkdir app/deploy
printf '#!/bin/sh\necho "pre $FLEET_DEPLOY_DIR $FLEET_SECRETS_DIRECTORY" >>%s/calls\n' "$work" >app/deploy/pre.sh
chmod +x app/deploy/pre.sh
git -C app add . && git -C app commit -qm one
# A value that a shell would run.
printf 'DOCKER_PRIVATE_REPO_URL=ghcr.io\nDOCKER_PRIVATE_REPO_USER=$(touch %s/ran)\nDOCKER_PRIVATE_REPO_PASS=x\n' "$work" >secrets/docker_private_repo_creds_a
echo "echo extra >>$work/calls" >extra

export DEPLOY_DIR=$work/opt/app REPO_URL=$work/app BRANCH=main PRE_COMPOSE=deploy/pre.sh EXTRA_SCRIPT=$work/extra COMPOSE_FILES="a.yml b.yml"
export RESTART=false FORCE_BUILD=true ENV_PREFIX=FLEET SECRETS_DIR=$work/secrets/ CONFIGS_DIR=$work/configs
mkdir opt
deploy() { : >calls; bash "$SCRIPTS/deploy.sh" >log 2>&1 </dev/null; }
check() { if eval "$2"; then echo "pass $1"; else echo "FAIL $1: $(tr '\n' '|' <calls) $(tail -n 3 log | tr '\n' '|')"; fi; }

deploy || true
printf '%s\n' "docker login --username \$(touch $work/ran) --password-stdin ghcr.io" "pre $DEPLOY_DIR $SECRETS_DIR" extra \
  "compose --project-directory $DEPLOY_DIR --file $DEPLOY_DIR/a.yml --file $DEPLOY_DIR/b.yml --ansi never up --detach --remove-orphans --build" \
  "docker logout ghcr.io" >wanted
check in-order 'cmp -s calls wanted'
check credentials-are-data '[ ! -e ran ]'

touch "$DEPLOY_DIR/stray"; echo changed >"$DEPLOY_DIR/deploy/pre.sh"
echo two >app/two && git -C app add . && git -C app commit -qm two
deploy || true
check exactly-the-branch '[ -e "$DEPLOY_DIR/two" ] && [ ! -e "$DEPLOY_DIR/stray" ] && grep -q "^pre" calls'

export COMPOSE_STATUS=1
check a-failure-is-one '! deploy'
check logged-out-after-a-failure 'grep -q "docker logout ghcr.io" calls'
unset COMPOSE_STATUS

echo 'exit 3' >extra
check the-first-failure-ends-it '! deploy && ! grep -q compose calls'
echo true >extra

RESTART=true deploy || true
check restart 'grep -q "never restart$" calls'
PRE_COMPOSE=deploy/absent.sh deploy || true
check skipping-is-told 'grep -q "skipped: deploy/absent.sh" log && grep -q "^compose" calls'

rm -rf "$DEPLOY_DIR"; mkdir "$DEPLOY_DIR"; echo data >"$DEPLOY_DIR/patients"
check no-clone-is-refused '! deploy && grep -q "Move it away" log && [ -e "$DEPLOY_DIR/patients" ] && [ ! -s calls ]'
