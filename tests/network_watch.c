/* Preloaded into a process: writes a line to $NETWORK_WATCH whenever it, or a native library in it, looks up a name or
 * turns to an internet address. A socket alone is none: urllib3 binds one to ::1 when it is imported, to see whether there
 * is IPv6, and libuuid asks one for the network card. tests/network_watch.py builds it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void say(const char *what, const char *name) {
  const char *path = getenv("NETWORK_WATCH");
  FILE *log = path ? fopen(path, "a") : NULL;
  if (log == NULL) return;
  fprintf(log, "%s %s\n", what, name ? name : "");
  fclose(log);
}

static void look(const char *what, const struct sockaddr *address) {
  if (address != NULL && (address->sa_family == AF_INET || address->sa_family == AF_INET6))
    say(what, address->sa_family == AF_INET ? "IPv4" : "IPv6");
}

int connect(int socket, const struct sockaddr *address, socklen_t length) {
  look("connect", address);
  return REAL(connect)(socket, address, length);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
  look("sendto", address);
  return REAL(sendto)(socket, data, size, flags, address, length);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
  look("sendmsg", message->msg_name);
  return REAL(sendmsg)(socket, message, flags);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  say("getaddrinfo", node);
  return REAL(getaddrinfo)(node, service, hints, found);
}

struct hostent *gethostbyname(const char *name) {
  say("gethostbyname", name);
  return REAL(gethostbyname)(name);
}
