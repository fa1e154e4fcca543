/*
 * Preloaded into a process, it keeps of each file in one folder what was last synced: what a disk still holds for sure
 * after a power cut. And it ends the process instead of one of the syncs.
 *
 * POWER_CUT_FOLDER: the folder, without symbolic links. POWER_CUT_DISK: where the synced content is kept.
 * POWER_CUT_SYNC: the number of the sync that does not happen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* The name of a file that lies in the folder itself; NULL for any other. */
static const char *name_in_folder(int fd, char path[PATH_MAX]) {
  const char *folder = getenv("POWER_CUT_FOLDER");
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (folder == NULL || length < 0) return NULL;
  path[length] = '\0';
  size_t prefix = strlen(folder);
  if (strncmp(path, folder, prefix) != 0 || path[prefix] != '/') return NULL;
  const char *name = path + prefix + 1;
  return strchr(name, '/') == NULL && access(path, F_OK) == 0 ? name : NULL;
}

static void keep(int fd) {
  static atomic_int syncs;
  char path[PATH_MAX], kept[2 * PATH_MAX], part[sizeof kept + 32];
  const char *disk = getenv("POWER_CUT_DISK"), *name = name_in_folder(fd, path);
  if (disk == NULL || name == NULL) return;
  const char *last = getenv("POWER_CUT_SYNC");
  if (last != NULL && atomic_fetch_add(&syncs, 1) + 1 == atoi(last)) kill(getpid(), SIGKILL);
  snprintf(kept, sizeof kept, "%s/%s", disk, name);
  snprintf(part, sizeof part, "%s.part%d", kept, fd);
  int from = open(path, O_RDONLY | O_CLOEXEC), to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ssize_t copied;
  while ((copied = sendfile(to, from, NULL, 1 << 24)) > 0) continue;
  close(from);
  close(to);
  /* A test must not go on with less than was synced. */
  if (copied < 0 || rename(part, kept) != 0) abort();
}

/* What is written while the sync runs may not be on the disk when it returns, so the copy is made before. */
static int synced(const char *call, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
  keep(fd);
  return real(fd);
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
