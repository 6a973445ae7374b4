/* Writes what a program does on a GPU to a file: every kernel, copy and CUDA call, with its times. CUDA's driver
   loads this library into the program when CUDA_INJECTION64_PATH names it.

   GLIMPSE_KERNELS   the file: lines of kind, start, end, stream and name, with tabs between them; times are nanoseconds
                     since 1970
   GLIMPSE_CUPTI     libcupti.so, which is opened when the program starts [default: where the loader finds it]

   cc -O2 -shared -fPIC -I CUDA/include -o libglimpse-kernels.so kernels.c -ldl */

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <cupti.h>

enum { BUFFER = 8 << 20, ALIGNMENT = 8 };

static FILE *out;

/* The functions of libcupti that are used, by pointers: the library may be absent. */
#define FUNCTIONS(X) \
  X(cuptiActivityEnable) \
  X(cuptiActivityFlushAll) \
  X(cuptiActivityGetNextRecord) \
  X(cuptiActivityGetNumDroppedRecords) \
  X(cuptiActivityRegisterCallbacks) \
  X(cuptiGetCallbackName) \
  X(cuptiGetResultString)
#define DECLARE(name) static __typeof__(&name) p_##name;
FUNCTIONS(DECLARE)

static int open_cupti(void) {
  const char *named = getenv("GLIMPSE_CUPTI");
  const char *names[] = {named ? named : "libcupti.so.13", "libcupti.so.13", "libcupti.so"};
  void *library = NULL;
  for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++) library = dlopen(names[i], RTLD_NOW);
  if (!library) {
    fprintf(stderr, "libglimpse-kernels: cannot open libcupti: %s\n", dlerror());
    return 0;
  }
#define FIND(name) \
  if (!(p_##name = (__typeof__(&name))dlsym(library, #name))) { \
    fprintf(stderr, "libglimpse-kernels: libcupti has no " #name "\n"); \
    return 0; \
  }
  FUNCTIONS(FIND)
  return 1;
}

static void CUPTIAPI take_buffer(uint8_t **buffer, size_t *size, size_t *most_records) {
  *size = BUFFER;
  *most_records = 0;
  if (posix_memalign((void **)buffer, ALIGNMENT, BUFFER)) {
    *buffer = NULL;
    *size = 0;
  }
}

static void line(const char *kind, uint64_t start, uint64_t end, uint32_t stream, const char *name) {
  fprintf(out, "%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu32 "\t%s\n", kind, start, end, stream, name ? name : "");
}

static void call(const CUpti_ActivityAPI *record, CUpti_CallbackDomain domain) {
  const char *name = NULL;
  p_cuptiGetCallbackName(domain, record->cbid, &name);
  line("call", record->start, record->end, record->threadId, name);
}

static void write_record(const CUpti_Activity *record) {
  switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const CUpti_ActivityKernel10 *kernel = (const CUpti_ActivityKernel10 *)record;
      line("kernel", kernel->start, kernel->end, kernel->streamId, kernel->name);
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      const CUpti_ActivityMemcpy6 *copy = (const CUpti_ActivityMemcpy6 *)record;
      const char *name = "copy";
      if (copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD) name = "copy from the host";
      if (copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH) name = "copy to the host";
      if (copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOD) name = "copy on the device";
      line("copy", copy->start, copy->end, copy->streamId, name);
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      const CUpti_ActivityMemset4 *set = (const CUpti_ActivityMemset4 *)record;
      line("copy", set->start, set->end, set->streamId, "memset");
      break;
    }
    case CUPTI_ACTIVITY_KIND_DRIVER:
      call((const CUpti_ActivityAPI *)record, CUPTI_CB_DOMAIN_DRIVER_API);
      break;
    case CUPTI_ACTIVITY_KIND_RUNTIME:
      call((const CUpti_ActivityAPI *)record, CUPTI_CB_DOMAIN_RUNTIME_API);
      break;
    default:
      break;
  }
}

static void CUPTIAPI give_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid) {
  CUpti_Activity *record = NULL;
  size_t dropped = 0;
  (void)size;
  while (p_cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) write_record(record);
  p_cuptiActivityGetNumDroppedRecords(context, stream, &dropped);
  if (dropped) fprintf(stderr, "libglimpse-kernels: CUPTI dropped %zu records\n", dropped);
  free(buffer);
}

static void end(void) {
  p_cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  /* Not closed: libcupti may give more buffers while the program ends. */
  fflush(out);
}

/* The driver calls this once, before the program's first CUDA call returns. It always returns 1, so that the program
   continues. */
int InitializeInjection(void) {
  static const CUpti_ActivityKind kinds[] = {
      CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET,
      CUPTI_ACTIVITY_KIND_DRIVER, CUPTI_ACTIVITY_KIND_RUNTIME,
  };
  const char *path = getenv("GLIMPSE_KERNELS");
  if (!path || !open_cupti()) return 1;
  out = fopen(path, "w");
  if (!out) {
    fprintf(stderr, "libglimpse-kernels: cannot write %s\n", path);
    return 1;
  }
  CUptiResult result = p_cuptiActivityRegisterCallbacks(take_buffer, give_buffer);
  for (size_t i = 0; result == CUPTI_SUCCESS && i < sizeof kinds / sizeof *kinds; i++)
    result = p_cuptiActivityEnable(kinds[i]);
  if (result != CUPTI_SUCCESS) {
    const char *why = "";
    p_cuptiGetResultString(result, &why);
    fprintf(stderr, "libglimpse-kernels: cannot record: %s\n", why);
  }
  atexit(end);
  return 1;
}
