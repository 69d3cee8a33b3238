/* Preloaded, it makes a folder behave as on a disk that is full or read-only, for root too, who ignores modes.

   FAULTY_FOLDER: the folder. FAULTY: "full" (nothing can be written, but empty files can be created) or "readonly". */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int is(const char *fault) {
  const char *set = getenv("FAULTY");
  return set && !strcmp(set, fault);
}

static int below(const char *path) {
  const char *folder = getenv("FAULTY_FOLDER");
  size_t length = folder ? strlen(folder) : 0;
  return length && path && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int open_below(int file) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(fault, number) if (fault) return errno = number, -1

#define OPENS(name, parameters, ...)                                                              \
  int name parameters {                                                                           \
    va_list more;                                                                                 \
    va_start(more, flags);                                                                        \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                       \
    va_end(more);                                                                                 \
    FAIL(is("readonly") && below(path) && (flags & (O_WRONLY | O_RDWR | O_CREAT)), EROFS);        \
    return REAL(name)(__VA_ARGS__, flags, mode);                                                  \
  }
OPENS(open, (const char *path, int flags, ...), path)
OPENS(open64, (const char *path, int flags, ...), path)
OPENS(openat, (int folder, const char *path, int flags, ...), folder, path)
OPENS(openat64, (int folder, const char *path, int flags, ...), folder, path)

int access(const char *path, int mode) {
  FAIL(below(path) && is("readonly") && (mode & W_OK), EROFS);
  return REAL(access)(path, mode);
}

#define CHANGES(name, parameters, arguments, path)                        \
  int name parameters {                                                   \
    FAIL(below(path) && is("readonly"), EROFS);                           \
    return REAL(name) arguments;                                          \
  }
CHANGES(unlink, (const char *path), (path), path)
CHANGES(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), path)
CHANGES(rmdir, (const char *path), (path), path)
CHANGES(rename, (const char *from, const char *to), (from, to), to)
CHANGES(renameat, (int one, const char *from, int other, const char *to), (one, from, other, to), to)
CHANGES(chmod, (const char *path, mode_t mode), (path, mode), path)
CHANGES(fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags), path)

int mkdir(const char *path, mode_t mode) {
  FAIL(below(path) && is("readonly"), EROFS);
  FAIL(below(path) && is("full"), ENOSPC);
  return REAL(mkdir)(path, mode);
}

#define WRITES(type, name, parameters, arguments)                         \
  type name parameters {                                                  \
    FAIL(is("full") && open_below(file), ENOSPC);                         \
    return REAL(name) arguments;                                          \
  }
WRITES(ssize_t, write, (int file, const void *from, size_t size), (file, from, size))
WRITES(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at))
WRITES(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at))
WRITES(int, ftruncate, (int file, off_t size), (file, size))
WRITES(int, ftruncate64, (int file, off64_t size), (file, size))
