#include "envs/renderer.h"

#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <dlfcn.h>
#include <mujoco/mujoco.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace cosdt::envs {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  throw std::runtime_error("rendering: " + what +
                           " (on Debian the packages libegl1 and libgl1-mesa-dri)");
}

// libEGL is loaded when a frame is first wanted: everything else works on machines without it.
template <typename Function>
Function* Egl(const char* name) {
  static void* const library = dlopen("libEGL.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!library) Fail("expected the library libEGL.so.1, found none");
  void* const function = dlsym(library, name);
  if (!function) Fail(std::string("expected ") + name + " in libEGL.so.1, found none");
  return reinterpret_cast<Function*>(function);
}

// A display that needs no window system: a device's (a GPU's driver) or Mesa's surfaceless one.
EGLDisplay OpenDisplay() {
  const auto get_proc = Egl<decltype(eglGetProcAddress)>("eglGetProcAddress");
  const auto initialize = Egl<decltype(eglInitialize)>("eglInitialize");
  const auto query_devices =
      reinterpret_cast<PFNEGLQUERYDEVICESEXTPROC>(get_proc("eglQueryDevicesEXT"));
  const auto get_display =
      reinterpret_cast<PFNEGLGETPLATFORMDISPLAYEXTPROC>(get_proc("eglGetPlatformDisplayEXT"));
  if (get_display && query_devices) {
    EGLDeviceEXT devices[16];
    EGLint count = 0;
    if (query_devices(16, devices, &count)) {
      for (EGLint i = 0; i < count; ++i) {
        const EGLDisplay display = get_display(EGL_PLATFORM_DEVICE_EXT, devices[i], nullptr);
        if (display != EGL_NO_DISPLAY && initialize(display, nullptr, nullptr)) return display;
      }
    }
  }
  if (get_display) {
    const EGLDisplay display = get_display(EGL_PLATFORM_SURFACELESS_MESA,
                                           reinterpret_cast<void*>(EGL_DEFAULT_DISPLAY), nullptr);
    if (display != EGL_NO_DISPLAY && initialize(display, nullptr, nullptr)) return display;
  }
  Fail("expected an EGL device or Mesa's surfaceless platform, found none");
}

// An OpenGL context without a window, current in the thread that made it.
class EglContext {
 public:
  EglContext() : display_(OpenDisplay()) {
    const EGLint wanted[] = {EGL_RED_SIZE,
                             8,
                             EGL_GREEN_SIZE,
                             8,
                             EGL_BLUE_SIZE,
                             8,
                             EGL_DEPTH_SIZE,
                             24,
                             EGL_SURFACE_TYPE,
                             EGL_PBUFFER_BIT,
                             EGL_RENDERABLE_TYPE,
                             EGL_OPENGL_BIT,
                             EGL_NONE};
    EGLConfig config;
    EGLint count = 0;
    if (!Egl<decltype(eglChooseConfig)>("eglChooseConfig")(display_, wanted, &config, 1, &count) ||
        count == 0) {
      Fail("expected an EGL configuration with OpenGL, found none");
    }
    Egl<decltype(eglBindAPI)>("eglBindAPI")(EGL_OPENGL_API);
    context_ = Egl<decltype(eglCreateContext)>("eglCreateContext")(display_, config, EGL_NO_CONTEXT,
                                                                   nullptr);
    if (context_ == EGL_NO_CONTEXT) Fail("EGL cannot make an OpenGL context");
    if (!MakeCurrent(context_)) {
      Egl<decltype(eglDestroyContext)>("eglDestroyContext")(display_, context_);
      Fail("EGL cannot use a context without a surface");
    }
  }
  ~EglContext() {
    MakeCurrent(EGL_NO_CONTEXT);
    Egl<decltype(eglDestroyContext)>("eglDestroyContext")(display_, context_);
  }
  EglContext(const EglContext&) = delete;
  EglContext& operator=(const EglContext&) = delete;

  bool MakeCurrent() { return MakeCurrent(context_); }

 private:
  bool MakeCurrent(EGLContext context) {
    return Egl<decltype(eglMakeCurrent)>("eglMakeCurrent")(display_, EGL_NO_SURFACE, EGL_NO_SURFACE,
                                                           context);
  }

  EGLDisplay display_;
  EGLContext context_ = EGL_NO_CONTEXT;
};

}  // namespace

struct Renderer::Context {
  explicit Context(const mjModel* model) {
    mjv_defaultScene(&scene);
    mjv_defaultOption(&option);
    mjv_defaultCamera(&camera);
    mjr_defaultContext(&gl);
    mjv_makeScene(model, &scene, /*maxgeom=*/200);
    mjr_makeContext(model, &gl, mjFONTSCALE_100);
    mjr_setBuffer(mjFB_OFFSCREEN, &gl);
    scene.flags[mjRND_SHADOW] = 0;  // half the time of a frame on the software renderer
    camera.type = mjCAMERA_FIXED;
    camera.fixedcamid = mj_name2id(model, mjOBJ_CAMERA, "track");
  }
  ~Context() {
    egl.MakeCurrent();
    mjr_freeContext(&gl);
    mjv_freeScene(&scene);
  }

  EglContext egl;  // first, so that it outlives what was made in it
  mjvScene scene;
  mjvOption option;
  mjvCamera camera;
  mjrContext gl;
};

Renderer::Renderer(const MujocoEnv& env, int width, int height) : width_(width), height_(height) {
  const mjVisual& visual = env.model()->vis;
  if (width < 1 || height < 1 || width > visual.global.offwidth ||
      height > visual.global.offheight) {
    throw std::invalid_argument("frame size: expected up to " +
                                std::to_string(visual.global.offwidth) + "x" +
                                std::to_string(visual.global.offheight) + ", found " +
                                std::to_string(width) + "x" + std::to_string(height));
  }
  context_ = std::make_unique<Context>(env.model());
}

Renderer::~Renderer() = default;

std::vector<uint8_t> Renderer::Frame(const MujocoEnv& env) {
  Context& c = *context_;
  if (!c.egl.MakeCurrent()) Fail("EGL lost its context");
  // mjv_updateScene reads the data only; its signature predates const
  auto* data = const_cast<mjData*>(env.data());
  mjv_updateScene(env.model(), data, &c.option, nullptr, &c.camera, mjCAT_ALL, &c.scene);
  const mjrRect viewport{0, 0, width_, height_};
  mjr_render(viewport, &c.scene, &c.gl);
  std::vector<uint8_t> bottom_up(static_cast<size_t>(width_) * height_ * 3);
  mjr_readPixels(bottom_up.data(), nullptr, viewport, &c.gl);
  std::vector<uint8_t> frame(bottom_up.size());
  const size_t stride = static_cast<size_t>(width_) * 3;
  for (int row = 0; row < height_; ++row) {
    std::memcpy(&frame[row * stride], &bottom_up[(height_ - 1 - row) * stride], stride);
  }
  return frame;
}

}  // namespace cosdt::envs
