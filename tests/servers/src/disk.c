/*
 * A disk that answers late, or not at all, and loses what was not synced when its power is cut.
 *
 * Preloaded into a server. FIREFLY_DISK names a directory, in which there may be
 *   delay        how many milliseconds each sync takes longer
 *   hold         no sync ends as long as this file is there
 *   held/        an empty file for each thread whose sync is held back now
 *   undo/        for each file written to, what its unsynced writes have overwritten; written only if the directory is there
 *
 * It knows the calls below. Asynchronous I/O goes past it: servers are started without. What is done to directories counts as
 * synced at once, and so does what goes through a mapping of a file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char *in(char *path, const char *name)
{
    const char *directory = getenv("FIREFLY_DISK");
    snprintf(path, PATH_MAX, "%s/%s", directory ? directory : "/nonexistent", name);
    return path;
}

static void pause_for(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Takes as long as this disk takes for a sync. */
static void take_time(void)
{
    char path[PATH_MAX], held[PATH_MAX], name[64];
    int delay = open(in(path, "delay"), O_RDONLY | O_CLOEXEC);
    if (delay >= 0) {
        char text[32] = {0};
        if (read(delay, text, sizeof text - 1) > 0)
            pause_for(atol(text));
        close(delay);
    }
    if (access(in(path, "hold"), F_OK) == 0) {
        snprintf(name, sizeof name, "held/%ld", (long)syscall(SYS_gettid));
        close(open(in(held, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
        while (access(path, F_OK) == 0)
            pause_for(1);
        unlink(held);
    }
}

/* The file of what is to be undone in a regular file, by what stays the same when that is renamed; -1 if nothing is kept. */
static int undo_of(int fd, int flags)
{
    char path[PATH_MAX], name[128];
    struct statx file;
    if (access(in(path, "undo"), F_OK) != 0
        || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &file) != 0
        || !S_ISREG(file.stx_mode) || file.stx_nlink == 0)
        return -1;
    snprintf(name, sizeof name, "undo/%llu-%lld%09u", (unsigned long long)file.stx_ino, (long long)file.stx_btime.tv_sec,
             file.stx_btime.tv_nsec);
    int undo = open(in(path, name), flags | O_CLOEXEC, 0666);
    if (undo >= 0)
        flock(undo, LOCK_EX);
    return undo;
}

static void write_whole(int fd, const void *bytes, size_t length)
{
    for (const char *rest = bytes; length > 0;) {
        ssize_t written = syscall(SYS_write, fd, rest, length);
        if (written <= 0)
            abort(); /* what is not kept cannot be undone */
        rest += written;
        length -= written;
    }
}

static int is_synced_by_itself(int fd)
{
    return (fcntl(fd, F_GETFL) & O_DSYNC) == O_DSYNC;
}

/* Keeps what is about to be overwritten, or cut off. */
static void remember(int fd, off_t offset, size_t length)
{
    int error = errno;
    struct stat file;
    int undo = is_synced_by_itself(fd) ? -1 : undo_of(fd, O_CREAT | O_WRONLY | O_APPEND);
    if (undo >= 0 && fstat(fd, &file) == 0) {
        uint64_t there = file.st_size > offset ? file.st_size - offset : 0;
        if (there > length)
            there = length;
        uint64_t record[] = {offset, there, file.st_size};
        char path[64], *bytes = malloc(there + 1);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        /* Another descriptor: that of the write may be for direct I/O, or for writing only. */
        int reader = open(path, O_RDONLY | O_CLOEXEC);
        if (!bytes || reader < 0 || syscall(SYS_pread64, reader, bytes, there, offset) != (ssize_t)there)
            abort();
        close(reader);
        write_whole(undo, record, sizeof record);
        write_whole(undo, bytes, there);
        free(bytes);
    }
    if (undo >= 0)
        close(undo);
    errno = error;
}

/* What was written is on the disk now. */
static void forget(int fd)
{
    int error = errno;
    int undo = undo_of(fd, O_WRONLY);
    if (undo >= 0) {
        if (syscall(SYS_ftruncate, undo, 0L) != 0)
            abort();
        close(undo);
    }
    errno = error;
}

static ssize_t written(int fd, ssize_t result)
{
    if (result > 0 && is_synced_by_itself(fd)) {
        int error = errno;
        take_time();
        errno = error;
        forget(fd);
    }
    return result;
}

static size_t total(const struct iovec *parts, int count)
{
    size_t length = 0;
    for (int part = 0; part < count; part++)
        length += parts[part].iov_len;
    return length;
}

static off_t position(int fd)
{
    struct stat file;
    if (fcntl(fd, F_GETFL) & O_APPEND)
        return fstat(fd, &file) == 0 ? file.st_size : 0;
    off_t position = lseek(fd, 0, SEEK_CUR);
    return position < 0 ? 0 : position;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    int error = errno;
    off_t offset = position(fd);
    errno = error;
    remember(fd, offset, length);
    return written(fd, syscall(SYS_write, fd, bytes, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    int error = errno;
    off_t offset = position(fd);
    errno = error;
    remember(fd, offset, total(parts, count));
    return written(fd, syscall(SYS_writev, fd, parts, count));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    remember(fd, offset, length);
    return written(fd, syscall(SYS_pwrite64, fd, bytes, length, offset));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return pwrite64(fd, bytes, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    remember(fd, offset, total(parts, count));
    return written(fd, syscall(SYS_pwritev, fd, parts, count, offset, 0L));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(fd, parts, count, offset);
}

static int cut_off(int fd, off64_t length)
{
    struct stat file;
    if (fstat(fd, &file) == 0 && file.st_size > length)
        remember(fd, length, file.st_size - length);
    return syscall(SYS_ftruncate, fd, length);
}

int ftruncate64(int fd, off64_t length)
{
    return cut_off(fd, length);
}

int ftruncate(int fd, off_t length)
{
    return cut_off(fd, length);
}

int fsync(int fd)
{
    take_time();
    int result = syscall(SYS_fsync, fd);
    if (result == 0)
        forget(fd);
    return result;
}

int fdatasync(int fd)
{
    take_time();
    int result = syscall(SYS_fdatasync, fd);
    if (result == 0)
        forget(fd);
    return result;
}
