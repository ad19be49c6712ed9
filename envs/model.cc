#include "envs/model.h"

#include <mujoco/mujoco.h>

#include <iomanip>
#include <mutex>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace cosdt::envs {
namespace {

// An attribute's values in full precision, with quotes.
std::string Values(const double* values, int count) {
  std::ostringstream text;
  text << std::setprecision(17) << '"';
  for (int i = 0; i < count; ++i) text << (i > 0 ? " " : "") << values[i];
  text << '"';
  return text.str();
}

using SpecPtr = std::unique_ptr<mjSpec, decltype(&mj_deleteSpec)>;

SpecPtr ParseSpec(const std::string& mjcf) {
  char message[1024] = "";
  SpecPtr spec(mj_parseXMLString(mjcf.c_str(), nullptr, message, sizeof message), mj_deleteSpec);
  if (!spec) throw std::runtime_error(std::string("MuJoCo cannot read the model: ") + message);
  return spec;
}

ModelPtr CompileSpec(mjSpec* spec) {
  ModelPtr model(mj_compile(spec, nullptr), mj_deleteModel);
  if (!model) {
    throw std::runtime_error(std::string("MuJoCo cannot compile the model: ") + mjs_getError(spec));
  }
  return model;
}

// MuJoCo before 3.5.0 took the larger of two geoms' contact margins; since then they are added.
constexpr int kAddsMargins = 350;

// The same halving in an MJCF string.
void HalveMargins(std::string& mjcf) {
  const std::string key = " margin=\"";
  for (size_t at = mjcf.find(key); at != std::string::npos; at = mjcf.find(key, at + 1)) {
    const size_t begin = at + key.size(), end = mjcf.find('"', begin);
    const double half = std::stod(mjcf.substr(begin, end - begin)) / 2;
    mjcf.replace(at + key.size() - 1, end - begin + 2, Values(&half, 1));
  }
}

template <typename Visit>
void ForEachGeom(mjSpec* spec, Visit visit) {
  for (mjsElement* e = mjs_firstElement(spec, mjOBJ_GEOM); e; e = mjs_nextElement(spec, e)) {
    visit(mjs_asGeom(e));
  }
}

// The inertias of MuJoCo before 2.1.1, taken from a model whose capsules (given by size, not by end
// points) were replaced by cylinders: MuJoCo itself adds up the geoms of a body, finds the
// principal axes and scales to the total mass.
ModelPtr CompileWithCylinderInertias(const std::string& mjcf) {
  SpecPtr cylinders = ParseSpec(mjcf);
  ForEachGeom(cylinders.get(), [](mjsGeom* geom) {
    if (geom->type != mjGEOM_CAPSULE) return;
    geom->type = mjGEOM_CYLINDER;
    geom->size[1] += geom->size[0] / 2;
  });
  const ModelPtr inertias = CompileSpec(cylinders.get());

  SpecPtr capsules = ParseSpec(mjcf);
  capsules->compiler.settotalmass = -1;  // the inertias are scaled already
  for (int id = 1; id < static_cast<int>(inertias->nbody); ++id) {
    mjsBody* body = mjs_findBody(capsules.get(), mj_id2name(inertias.get(), mjOBJ_BODY, id));
    body->explicitinertial = 1;
    body->mass = inertias->body_mass[id];
    mju_copy3(body->ipos, inertias->body_ipos + 3 * id);
    mju_copy4(body->iquat, inertias->body_iquat + 4 * id);
    mju_copy3(body->inertia, inertias->body_inertia + 3 * id);
  }
  if (mj_version() >= kAddsMargins) {
    ForEachGeom(capsules.get(), [](mjsGeom* geom) { geom->margin /= 2; });
  }
  return CompileSpec(capsules.get());
}

// By default MuJoCo writes warnings to a file in the working folder, and ends the process at an
// error such as a lack of memory. Bad states are read from mjData instead (MujocoEnv::Step).
void TakeOverMessages() {
  static std::once_flag once;
  std::call_once(once, [] {
    mju_user_warning = [](const char*) {};
    mju_user_error = [](const char* message) {
      throw std::runtime_error(std::string("MuJoCo: ") + message);
    };
  });
}

}  // namespace

const char* PhysicsName(Physics physics) {
  switch (physics) {
    case Physics::kD4rl:
      return "d4rl";
    case Physics::kGymnasiumV4:
      return "gymnasium-v4";
    case Physics::kGymnasiumV5:
      return "gymnasium-v5";
  }
  throw std::logic_error("unknown physics mode");
}

Physics ParsePhysics(std::string_view name) {
  std::string known;
  for (const Physics physics : kAllPhysics) {
    if (name == PhysicsName(physics)) return physics;
    known += (known.empty() ? "" : ", ") + std::string(PhysicsName(physics));
  }
  throw std::invalid_argument("physics: expected one of " + known + ", found '" +
                              std::string(name) + "'");
}

ModelPtr CompileModel(const std::string& mjcf, Physics physics) {
  TakeOverMessages();
  if (physics == Physics::kD4rl) return CompileWithCylinderInertias(mjcf);
  return CompileSpec(ParseSpec(mjcf).get());
}

std::string WriteInertias(std::string mjcf, Physics physics) {
  if (physics != Physics::kD4rl) return mjcf;
  const ModelPtr model = CompileModel(mjcf, physics);
  for (int id = 1; id < static_cast<int>(model->nbody); ++id) {
    const std::string body = std::string("<body name=\"") + mj_id2name(model.get(), mjOBJ_BODY, id);
    const size_t end = mjcf.find('>', mjcf.find(body + '"'));
    if (end == std::string::npos) throw std::logic_error("model: no " + body + "\">");
    mjcf.insert(end + 1, "<inertial mass=" + Values(&model->body_mass[id], 1) +
                             " pos=" + Values(model->body_ipos + 3 * id, 3) +
                             " quat=" + Values(model->body_iquat + 4 * id, 4) +
                             " diaginertia=" + Values(model->body_inertia + 3 * id, 3) + "/>");
  }
  // the inertias are scaled already
  mjcf = std::regex_replace(mjcf, std::regex(" settotalmass=\"[^\"]*\""), "");
  if (mj_version() >= kAddsMargins) HalveMargins(mjcf);
  return mjcf;
}

std::string MujocoVersion() { return mj_versionString(); }

}  // namespace cosdt::envs
