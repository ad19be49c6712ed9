#pragma once

#include <memory>
#include <string>
#include <string_view>

typedef struct mjModel_ mjModel;

namespace cosdt::envs {

// Whose simulator an environment reproduces.
//   kD4rl         bodies of MuJoCo before 2.1.1, D4RL's clipped actions: published D4RL scores
//   kGymnasiumV4  gymnasium's -v4: exact capsule inertias
//   kGymnasiumV5  gymnasium's -v5: as v4, the healthy reward is paid only while healthy, and
//                 walker2d's feet have equal friction
enum class Physics { kD4rl, kGymnasiumV4, kGymnasiumV5 };

inline constexpr Physics kAllPhysics[] = {Physics::kD4rl, Physics::kGymnasiumV4,
                                          Physics::kGymnasiumV5};

// "d4rl", "gymnasium-v4", "gymnasium-v5".
const char* PhysicsName(Physics physics);

// The reverse; throws std::invalid_argument that lists the names.
Physics ParsePhysics(std::string_view name);

using ModelPtr = std::shared_ptr<mjModel>;

// Compiles an MJCF string for a physics mode. For kD4rl every capsule's mass and inertia are those
// that MuJoCo before 2.1.1 gave it: a cylinder's of the same radius r and half length h + r/2;
// geometry, and so contacts, stay the capsule's. Throws std::runtime_error with the compiler's
// message.
ModelPtr CompileModel(const std::string& mjcf, Physics physics);

// The MJCF string with the masses and inertias that CompileModel gives its bodies for kD4rl written
// into it, in full precision: whatever reads it with the MuJoCo in use (before 3.5.0 and since then
// contact margins differ) simulates the same body. For other modes the string as it is. Throws what
// CompileModel throws.
std::string WriteInertias(std::string mjcf, Physics physics);

// The version of the MuJoCo library in use, e.g. "3.3.5".
std::string MujocoVersion();

}  // namespace cosdt::envs
