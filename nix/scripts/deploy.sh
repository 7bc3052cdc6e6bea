# One deployment of an app. Steps in the order of "App deployments" in docs/migrate.md; the first failure ends it.
# DEPLOY_DIR REPO_URL BRANCH PRE_COMPOSE EXTRA_SCRIPT COMPOSE_FILES RESTART FORCE_BUILD ENV_PREFIX SECRETS_DIR CONFIGS_DIR
set -euo pipefail

# 1. A clone. What is there and is no clone is somebody's data: refused, never wiped.
if [ -e "$DEPLOY_DIR" ] && [ ! -d "$DEPLOY_DIR/.git" ]; then
  if [ -n "$(ls -A "$DEPLOY_DIR")" ]; then
    echo "$DEPLOY_DIR is not a clone of $REPO_URL and not empty. Move it away, then start this unit again." >&2
    exit 1
  fi
fi
if [ ! -d "$DEPLOY_DIR/.git" ]; then
  git clone --branch "$BRANCH" -- "$REPO_URL" "$DEPLOY_DIR"
fi

# 2. Exactly the branch, whatever was changed by hand.
cd "$DEPLOY_DIR"
git remote set-url origin "$REPO_URL"
git fetch --prune origin "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH"
git checkout --force -B "$BRANCH" "origin/$BRANCH"
git reset --hard "origin/$BRANCH"
# Ignored files stay: apps keep their data there.
git clean --force -d

# 3. Registries. The files hold assignments in the shape of a shell file; they are read as data, never run.
value() { sed -n "s/^\(export  *\)\{0,1\}$2=[\"']\{0,1\}\([^\"']*\)[\"']\{0,1\}[[:space:]]*\$/\2/p" "$1" | head -n 1; }
registries=()
# 6. Log out again, also after a failure.
log_out() { for registry in "${registries[@]}"; do docker logout "$registry" || true; done; }
trap log_out EXIT
for creds in "${SECRETS_DIR%/}"/docker_private_repo_creds*; do
  [ -f "$creds" ] || continue
  registry=$(value "$creds" DOCKER_PRIVATE_REPO_URL)
  user=$(value "$creds" DOCKER_PRIVATE_REPO_USER)
  registries+=("$registry")
  value "$creds" DOCKER_PRIVATE_REPO_PASS | docker login --username "$user" --password-stdin "$registry"
done

# 4. What the app prepares itself.
export "${ENV_PREFIX}_SECRETS_DIRECTORY=$SECRETS_DIR" "${ENV_PREFIX}_CONFIGS_DIRECTORY=$CONFIGS_DIR" "${ENV_PREFIX}_DEPLOY_DIR=$DEPLOY_DIR"
if [ -x "$PRE_COMPOSE" ]; then
  "./$PRE_COMPOSE"
else
  echo "skipped: $PRE_COMPOSE is not there or not executable"
fi
bash -euo pipefail "$EXTRA_SCRIPT"

# 5. Up.
files=()
for file in $COMPOSE_FILES; do files+=(--file "$DEPLOY_DIR/$file"); done
compose=(docker-compose --project-directory "$DEPLOY_DIR" "${files[@]}" --ansi never)
if [ "$RESTART" = true ]; then
  "${compose[@]}" restart
else
  build=()
  if [ "$FORCE_BUILD" = true ]; then build=(--build); fi
  "${compose[@]}" up --detach --remove-orphans "${build[@]}"
fi
