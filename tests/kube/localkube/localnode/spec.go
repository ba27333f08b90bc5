//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podresource "k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// field gives a downward API value.
func (p *podRun) field(path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return p.n.name, nil
	case "spec.serviceAccountName":
		return p.pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return "127.0.0.1", nil
	case "status.podIP", "status.podIPs":
		return p.ip, nil
	}
	return fieldpath.ExtractFieldPathAsString(p.pod, path)
}

func optional(b *bool) bool { return b != nil && *b }

func (p *podRun) configMap(ctx context.Context, name string, opt *bool) (map[string][]byte, error) {
	out := map[string][]byte{}
	cm, err := p.n.client.CoreV1().ConfigMaps(p.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional(opt) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for k, v := range cm.Data {
		out[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		out[k] = v
	}
	return out, nil
}

func (p *podRun) secret(ctx context.Context, name string, opt *bool) (map[string][]byte, error) {
	s, err := p.n.client.CoreV1().Secrets(p.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional(opt) {
		return map[string][]byte{}, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Data, nil
}

func (p *podRun) environ(ctx context.Context, c *v1.Container) ([]string, map[string]string, error) {
	vals := map[string]string{}
	var order []string
	set := func(k, v string) {
		if _, ok := vals[k]; !ok {
			order = append(order, k)
		}
		vals[k] = v
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("HOSTNAME", p.hostname())
	set("HOME", "/root")
	set("KUBERNETES_SERVICE_HOST", p.n.apiHost)
	set("KUBERNETES_SERVICE_PORT", p.n.apiPort)
	for _, f := range c.EnvFrom {
		var m map[string][]byte
		var err error
		if f.ConfigMapRef != nil {
			m, err = p.configMap(ctx, f.ConfigMapRef.Name, f.ConfigMapRef.Optional)
		} else if f.SecretRef != nil {
			m, err = p.secret(ctx, f.SecretRef.Name, f.SecretRef.Optional)
		}
		if err != nil {
			return nil, nil, err
		}
		for k, v := range m {
			set(f.Prefix+k, string(v))
		}
	}
	mapping := expansion.MappingFuncFor(vals)
	for _, e := range c.Env {
		v, absent, err := p.value(ctx, c, e, mapping)
		if err != nil {
			return nil, nil, err
		}
		if !absent {
			set(e.Name, v)
		}
	}
	var env []string
	for _, k := range order {
		env = append(env, k+"="+vals[k])
	}
	return env, vals, nil
}

// value returns what a variable is set to; absent if it may be missing, and is.
func (p *podRun) value(ctx context.Context, c *v1.Container, e v1.EnvVar, mapping func(string) string) (v string, absent bool, err error) {
	from := e.ValueFrom
	switch {
	case from == nil:
		return expansion.Expand(e.Value, mapping), false, nil
	case from.FieldRef != nil:
		v, err = p.field(from.FieldRef.FieldPath)
		return v, false, err
	case from.ResourceFieldRef != nil:
		v, err = podresource.ExtractContainerResourceValue(from.ResourceFieldRef, c)
		return v, false, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		data, err := p.configMap(ctx, r.Name, r.Optional)
		return keyOf(data, err, "ConfigMap "+r.Name, r.Key, r.Optional)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		data, err := p.secret(ctx, r.Name, r.Optional)
		return keyOf(data, err, "Secret "+r.Name, r.Key, r.Optional)
	}
	return "", false, errors.New("this valueFrom is not supported by localnode")
}

func keyOf(data map[string][]byte, err error, where, key string, opt *bool) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	content, ok := data[key]
	if !ok && !optional(opt) {
		return "", false, fmt.Errorf("couldn't find key %s in %s", key, where)
	}
	return string(content), !ok, nil
}

func (p *podRun) hostname() string {
	if p.pod.Spec.Hostname != "" {
		return p.pod.Spec.Hostname
	}
	return p.pod.Name[:min(len(p.pod.Name), 63)]
}

// spec says how a container's process is started.
func (p *podRun) spec(ctx context.Context, c *ctr) (*spec, error) {
	env, vals, err := p.environ(ctx, c.c)
	if err != nil {
		return nil, err
	}
	mapping := expansion.MappingFuncFor(vals)
	expand := func(in []string) (out []string) {
		for _, a := range in {
			out = append(out, expansion.Expand(a, mapping))
		}
		return out
	}
	argv := expand(c.c.Command)
	if len(argv) == 0 {
		program, err := p.n.images.entrypoint(c.c.Image)
		if err != nil {
			return nil, err
		}
		argv = append(argv, program...)
	}
	argv = append(argv, expand(c.c.Args)...)
	base := filepath.Join(p.dir(), "containers", c.c.Name)
	s := &spec{Root: base, Argv: argv, Env: env, Dir: c.c.WorkingDir, Hostname: p.hostname(), UID: -1, GID: -1, TermLog: filepath.Join(base, "termination-log")}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.TermLog, nil, 0o666); err != nil {
		return nil, err
	}
	_ = os.Chmod(s.TermLog, 0o666)
	s.TermPath = c.c.TerminationMessagePath
	nonRoot := s.setSecurity(p.pod.Spec.SecurityContext, c.c.SecurityContext)
	if nonRoot && s.UID <= 0 {
		return nil, errors.New("container has runAsNonRoot and image will run as root")
	}
	s.Mounts = append(s.Mounts, p.n.binds...)
	for _, m := range c.c.VolumeMounts {
		source, err := p.sourceOf(m, mapping)
		if err != nil {
			return nil, err
		}
		s.Mounts = append(s.Mounts, mount{source, m.MountPath, m.ReadOnly || p.isReadOnly(m.Name)})
	}
	return s, nil
}

// setSecurity takes over the security contexts of pod and container, and returns whether the user must not be root.
func (s *spec) setSecurity(pod *v1.PodSecurityContext, container *v1.SecurityContext) bool {
	if pod == nil {
		pod = &v1.PodSecurityContext{}
	}
	if container == nil {
		container = &v1.SecurityContext{}
	}
	set := func(to *int, ids ...*int64) {
		for _, id := range ids {
			if id != nil {
				*to = int(*id)
			}
		}
	}
	set(&s.UID, pod.RunAsUser, container.RunAsUser)
	set(&s.GID, pod.RunAsGroup, container.RunAsGroup)
	if s.UID >= 0 && s.GID < 0 {
		s.GID = 0
	}
	for _, group := range pod.SupplementalGroups {
		s.Groups = append(s.Groups, int(group))
	}
	if pod.FSGroup != nil {
		s.Groups = append(s.Groups, int(*pod.FSGroup))
	}
	s.ReadOnly = optional(container.ReadOnlyRootFilesystem)
	s.NoNewPrivs = container.AllowPrivilegeEscalation != nil && !*container.AllowPrivilegeEscalation
	s.DropAll = container.Capabilities != nil && slices.Contains(container.Capabilities.Drop, "ALL")
	if container.RunAsNonRoot != nil {
		return *container.RunAsNonRoot
	}
	return optional(pod.RunAsNonRoot)
}

// sourceOf returns the folder or file of this machine that is mounted.
func (p *podRun) sourceOf(m v1.VolumeMount, mapping func(string) string) (string, error) {
	source, ok := p.vols[m.Name]
	if !ok {
		return "", fmt.Errorf("volume %s: not supported by localnode", m.Name)
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		sub = expansion.Expand(m.SubPathExpr, mapping)
	}
	if sub == "" {
		return source, nil
	}
	source = filepath.Join(source, sub)
	if _, err := os.Stat(source); os.IsNotExist(err) {
		return source, os.MkdirAll(source, 0o777)
	}
	return source, nil
}
