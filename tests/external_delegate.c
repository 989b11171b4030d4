/* An external TFLite delegate for tests, with its own copies of the few C structures that it needs.
 *
 * Options: claim=none|last|edgetpu|crash|error (default none) and log=PATH, to which it writes what is asked of it.
 * "last" takes the last two operators, "edgetpu" every edgetpu-custom-op, as libedgetpu does. It computes
 * nothing: the outputs are zeros. Compiled with -DEDGETPU it states a version and takes device=..., but knows no
 * PCIe device, and claims "edgetpu" by default: it stands in for libedgetpu.so.1 where there is no Edge TPU.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { OK = 0, FAILED = 1 } Status;

typedef struct {
  int size;
  int data[];
} IntArray;

struct Context;
struct Delegate;

/* The head of TfLiteNode. */
typedef struct Node {
  IntArray *inputs;
  IntArray *outputs;
} Node;

/* TfLiteTensor. */
typedef struct {
  int type;
  void *data;
  IntArray *dims;
  float scale;
  int32_t zero_point;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  struct Delegate *delegate;
  int buffer_handle;
  char data_is_stale, is_variable;
  int quantization_type;
  void *quantization, *sparsity, *dims_signature;
} Tensor;

/* TfLiteRegistration; reserved: whatever later versions append is zero. */
typedef struct {
  void *(*init)(struct Context *, const char *, size_t);
  void (*free)(struct Context *, void *);
  Status (*prepare)(struct Context *, struct Node *);
  Status (*invoke)(struct Context *, struct Node *);
  const char *(*profiling_string)(const struct Context *, const struct Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *reserved[16];
} Registration;

/* The head of TfLiteContext. */
typedef struct Context {
  size_t tensors_size;
  Status (*GetExecutionPlan)(struct Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  Status (*ResizeTensor)(struct Context *, void *, IntArray *);
  void (*ReportError)(struct Context *, const char *, ...);
  Status (*AddTensors)(struct Context *, int, int *);
  Status (*GetNodeAndRegistration)(struct Context *, int, struct Node **, Registration **);
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(struct Context *, Registration, const IntArray *, struct Delegate *);
} Context;

/* TfLiteDelegate. */
typedef struct Delegate {
  void *data;
  Status (*Prepare)(Context *, struct Delegate *);
  void *CopyFromBufferHandle;
  void *CopyToBufferHandle;
  void *FreeBufferHandle;
  int64_t flags;
  void *opaque_delegate_builder;
  void *reserved[16];
} Delegate;

static char claim[32];
static char log_path[4096];

static void note(const char *what, const char *detail) {
  FILE *file = log_path[0] ? fopen(log_path, "a") : NULL;
  if (file) {
    fprintf(file, "%s%s%s\n", what, detail[0] ? " " : "", detail);
    fclose(file);
  }
}

static Status kernel_prepare(Context *context, struct Node *node) {
  (void)context, (void)node;
  note("prepare", "");
  return OK;
}

static Status kernel_invoke(Context *context, struct Node *node) {
  for (int i = 0; i < node->outputs->size; i++) {
    Tensor *output = &context->tensors[node->outputs->data[i]];
    memset(output->data, 0, output->bytes);
  }
  note("invoke", "");
  return OK;
}

static int wanted(Context *context, const IntArray *plan, int place) {
  struct Node *node;
  Registration *registration;
  if (!strcmp(claim, "last")) return place >= plan->size - 2;
  if (context->GetNodeAndRegistration(context, plan->data[place], &node, &registration) != OK) return 0;
  return registration->custom_name && !strcmp(registration->custom_name, "edgetpu-custom-op");
}

static Status prepare(Context *context, Delegate *delegate) {
  IntArray *plan, *nodes;
  Registration registration;
  Status status = OK;
  if (!strcmp(claim, "crash")) raise(SIGSEGV);
  if (!strcmp(claim, "error")) {
    context->ReportError(context, "Package requires runtime version (14), which is newer than this runtime version (13).");
    return FAILED;
  }
  if (!strcmp(claim, "none")) return OK;
  if (context->GetExecutionPlan(context, &plan) != OK) return FAILED;
  nodes = malloc(sizeof(int) * (size_t)(plan->size + 1));
  nodes->size = 0;
  for (int place = 0; place < plan->size; place++)
    if (wanted(context, plan, place)) nodes->data[nodes->size++] = plan->data[place];
  memset(&registration, 0, sizeof registration);
  registration.prepare = kernel_prepare;
  registration.invoke = kernel_invoke;
  registration.custom_name = "TestDelegate";
  registration.version = 1;
  if (nodes->size) status = context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, nodes, delegate);
  free(nodes);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  Delegate *delegate;
  char text[4200];
#ifdef EDGETPU
  strcpy(claim, "edgetpu");
#else
  strcpy(claim, "none");
#endif
  log_path[0] = 0;
  for (size_t i = 0; i < count; i++)
    if (!strcmp(keys[i], "log")) snprintf(log_path, sizeof log_path, "%s", values[i]);
  for (size_t i = 0; i < count; i++) {
    snprintf(text, sizeof text, "%s=%s", keys[i], values[i]);
    note("option", text);
    if (!strcmp(keys[i], "claim")) {
      snprintf(claim, sizeof claim, "%s", values[i]);
#ifdef EDGETPU
    } else if (!strcmp(keys[i], "device")) {
      if (!strncmp(values[i], "pci", 3)) return NULL; /* as libedgetpu: no such device, and no word about it */
#endif
    } else if (strcmp(keys[i], "log")) {
      snprintf(text, sizeof text, "unknown option %s", keys[i]);
      report(text);
      return NULL;
    }
  }
  delegate = calloc(1, sizeof *delegate);
  delegate->Prepare = prepare;
#ifdef EDGETPU
  /* kTfLiteDelegateFlagsAllowDynamicTensors, as libedgetpu: else the custom operator is prepared, and missed, first. */
  delegate->flags = 1;
#endif
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
  note("destroy", "");
  free(delegate);
}

#ifdef EDGETPU
const char *edgetpu_version(void) { return "a stand-in for libedgetpu, RuntimeVersion(14)"; }
#endif
