/* A preloaded library: a file system on which some calls fail, below a path.
 *
 * FAULTY_BELOW  part of a path that the faults concern
 * FAULTY_CALLS  open, read, write, flock, lock (fcntl), link, scandir, rename, fsync; joined by commas
 * FAULTY_ERRNO  what they fail with; for `write` 0 means: only half is written
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int number(void) { const char *text = getenv("FAULTY_ERRNO"); return text ? atoi(text) : EIO; }

static int names(const char *call)
{
    char list[256], wanted[32];
    snprintf(list, sizeof list, ",%s,", getenv("FAULTY_CALLS") ? getenv("FAULTY_CALLS") : "");
    snprintf(wanted, sizeof wanted, ",%s,", call);
    return strstr(list, wanted) != NULL;
}

static int at(const char *call, const char *path)
{
    const char *below = getenv("FAULTY_BELOW");
    return names(call) && path && (!below || strstr(path, below));
}

static int on(const char *call, int descriptor)
{
    char link[64], path[4096];
    if (!names(call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return at(call, path);
}

static int refuse(void) { errno = number(); return -1; }

#define REAL(name) dlsym(RTLD_NEXT, name)

#define OPEN(name)                                                                \
    int name(const char *path, int flags, ...)                                    \
    {                                                                             \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        if (at("open", path)) return refuse();                                    \
        return ((int (*)(const char *, int, ...))REAL(#name))(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int descriptor, void *buffer, size_t count)
{
    if (on("read", descriptor)) return refuse();
    return ((ssize_t (*)(int, void *, size_t))REAL("read"))(descriptor, buffer, count);
}

#define PREAD(name)                                                                        \
    ssize_t name(int descriptor, void *buffer, size_t count, off_t offset)                 \
    {                                                                                      \
        if (on("read", descriptor)) return refuse();                                       \
        return ((ssize_t (*)(int, void *, size_t, off_t))REAL(#name))(descriptor, buffer, count, offset); \
    }
PREAD(pread)
PREAD(pread64)

ssize_t write(int descriptor, const void *buffer, size_t count)
{
    if (on("write", descriptor)) {
        if (number()) return refuse();
        count = count > 1 ? count / 2 : count;
    }
    return ((ssize_t (*)(int, const void *, size_t))REAL("write"))(descriptor, buffer, count);
}

int fsync(int descriptor)
{
    if (on("fsync", descriptor)) return refuse();
    return ((int (*)(int))REAL("fsync"))(descriptor);
}

int flock(int descriptor, int operation)
{
    if (on("flock", descriptor)) return refuse();
    return ((int (*)(int, int))REAL("flock"))(descriptor, operation);
}

static int is_lock(int command)
{
    return command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK
        || command == F_OFD_SETLKW || command == F_OFD_GETLK;
}

#define FCNTL(name)                                                                  \
    int name(int descriptor, int command, ...)                                       \
    {                                                                                \
        va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest); \
        if (is_lock(command) && on("lock", descriptor)) return refuse();             \
        return ((int (*)(int, int, ...))REAL(#name))(descriptor, command, argument); \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int link(const char *from, const char *to)
{
    if (at("link", to)) return refuse();
    return ((int (*)(const char *, const char *))REAL("link"))(from, to);
}

int linkat(int here, const char *from, int there, const char *to, int flags)
{
    if (at("link", to)) return refuse();
    return ((int (*)(int, const char *, int, const char *, int))REAL("linkat"))(here, from, there, to, flags);
}

int rename(const char *from, const char *to)
{
    if (at("rename", to)) return refuse();
    return ((int (*)(const char *, const char *))REAL("rename"))(from, to);
}

DIR *opendir(const char *path)
{
    if (at("scandir", path)) { refuse(); return NULL; }
    return ((DIR * (*)(const char *))REAL("opendir"))(path);
}
