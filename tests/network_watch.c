/* Preloaded into a process: writes a line to $NETWORK_WATCH for each internet socket and each name that is looked up,
 * by native libraries too. tests/edgetl/test_nothing_leaves.py builds it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void say(const char *what, const char *name) {
  const char *path = getenv("NETWORK_WATCH");
  FILE *log = path ? fopen(path, "a") : NULL;
  if (log == NULL) return;
  fprintf(log, "%s %s\n", what, name ? name : "");
  fclose(log);
}

int socket(int domain, int type, int protocol) {
  int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  if (domain == AF_INET || domain == AF_INET6) say("socket", domain == AF_INET ? "IPv4" : "IPv6");
  return real(domain, type, protocol);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
      (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
  say("getaddrinfo", node);
  return real(node, service, hints, found);
}

struct hostent *gethostbyname(const char *name) {
  struct hostent *(*real)(const char *) = (struct hostent * (*)(const char *)) dlsym(RTLD_NEXT, "gethostbyname");
  say("gethostbyname", name);
  return real(name);
}
