/* A wall clock that is wrong: loaded before the C library, it shifts what time(), gettimeofday() and CLOCK_REALTIME say.
 * The monotonic clocks, and the times of files, are left alone.
 *   CLOCK_SHIFT_S  by how many seconds, negative for the past
 *   CLOCK_EVERY_S  if set, the shift comes and goes: as long as this with it, as long without */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int real_gettime(clockid_t clock, struct timespec *found) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  return real(clock, found);
}

static time_t shift(void) {
  const char *by = getenv("CLOCK_SHIFT_S"), *every = getenv("CLOCK_EVERY_S");
  if (!by) return 0;
  if (every) {
    struct timespec now;
    real_gettime(CLOCK_MONOTONIC, &now);
    double period = atof(every), at = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if ((long long)(at / period) % 2) return 0;
  }
  return (time_t)atoll(by);
}

int clock_gettime(clockid_t clock, struct timespec *found) {
  int code = real_gettime(clock, found);
  if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) found->tv_sec += shift();
  return code;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  found->tv_sec = now.tv_sec;
  found->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *found) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (found) *found = now.tv_sec;
  return now.tv_sec;
}
